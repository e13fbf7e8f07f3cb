"""A real HDFS (name node and one data node in one process) on a directory: inside a bed, or alone on 127.0.0.1."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import hadoop
from e2e.cluster.processes import BedProcess
from e2e.cluster.stores import StorageServer, free_port

USER = "trainer"
_SUPERUSER = "hdfs"
_HEAP = "256m"
# A JVM that reads 80 MB of classes, beside other work on two cores.
_READY_S = 120.0
_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where it listens: name node (RPC, HTTP), data node (data, HTTP, IPC). The defaults are Hadoop's own."""

    rpc: int = 8020
    http: int = 9870
    data: int = 9866
    data_http: int = 9864
    data_ipc: int = 9867

    @classmethod
    def free(cls) -> Ports:
        """Five that nobody listens on now."""
        return cls(*(free_port() for _ in range(5)))


class HdfsServer(StorageServer):
    """One HDFS without replication, with WebHDFS. It enforces exclusive creation, permissions by user, and leases.

    Users are believed (simple authentication). Anybody may write below `/`.
    """

    def __init__(self, process: BedProcess, folder: Path, address: str, ports: Ports) -> None:
        super().__init__(process, folder, address)
        process.ready_timeout_s = _READY_S
        self.ports = ports
        self.user = USER
        self.hdfs_uri = f"hdfs://{address}:{ports.rpc}"
        self.webhdfs_uri = f"webhdfs://{address}:{ports.http}"
        self.endpoint = f"http://{address}:{ports.http}"
        self.data_endpoint = f"http://{address}:{ports.data_http}"

    @classmethod
    def start_local(cls, folder: Path) -> HdfsServer:
        """Start one on 127.0.0.1 without any cluster, with its data, log and record below `folder`.

        Needs Java, and Maven at the first time; `hadoop.missing()` says what is not there. Ready after about 5 s.
        """
        hadoop.ensure()
        folder = folder.resolve()
        process = BedProcess(f"hdfs-{folder.name}", "hdfs", folder)
        server = cls(process, folder / "data", "127.0.0.1", Ports.free())
        server.start()
        return server

    def command(self) -> tuple[Sequence[str], dict[str, str]]:
        """Its command line, and the superuser as a variable."""
        # Hadoop asks for the names of addresses. Nobody in a bed knows them: each question would wait for seconds.
        hosts = self.folder.with_suffix(".hosts")
        hosts.write_text(f"{self.address} hdfs {socket.gethostname()}\n127.0.0.1 localhost\n")
        # Jetty's copies of its pages: beside the data, where they go with it.
        scratch = self.folder.with_suffix(".tmp")
        scratch.mkdir(exist_ok=True)
        ports = (self.ports.rpc, self.ports.http, self.ports.data, self.ports.data_http, self.ports.data_ipc)
        arguments = [str(self.folder), self.address, *map(str, ports)]
        options = [f"-Xmx{_HEAP}", f"-Djdk.net.hosts.file={hosts}", f"-Djava.io.tmpdir={scratch}"]
        return hadoop.java(*arguments, options=options), {"HADOOP_USER_NAME": _SUPERUSER}

    def answers(self) -> bool:
        """Whether files can be read and written: blocks are reported and the data node is there."""
        query = "qry=Hadoop:service=NameNode,name=FSNamesystemState"
        try:
            with urllib.request.urlopen(f"{self.endpoint}/jmx?{query}", timeout=2) as answer:
                beans = json.load(answer)["beans"]
        except (OSError, ValueError):
            return False
        state = beans[0] if beans else {}
        return state.get("FSState") == "Operational" and state.get("NumLiveDataNodes") == 1

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which hdfs-native and Hadoop's own clients are a plain user here."""
        return {"HADOOP_USER_NAME": self.user}

    def make_directory(self, name: str, *, owner: str = USER, mode: str = "755") -> str:
        """Create `/name`, owned by a user; returns that path, to be put after `hdfs_uri` or `webhdfs_uri`."""
        path = f"/{name.strip('/')}"
        self._as_superuser(path, "MKDIRS&permission=755")
        self._as_superuser(path, f"SETPERMISSION&permission={mode}")
        self._as_superuser(path, f"SETOWNER&owner={owner}")
        return path

    def _as_superuser(self, path: str, operation: str) -> None:
        url = f"{self.endpoint}/webhdfs/v1{path}?user.name={_SUPERUSER}&op={operation}"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=_ANSWER_S).close()
