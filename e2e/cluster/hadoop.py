"""The HDFS server of tests: Hadoop's jars, fetched by Maven once per version into the user's cache, and a main class.

Started from Hadoop's jars alone, it takes several times the CPU, most of it to decompress and check classes. So it has
an archive of classes as the JVM has loaded them (class data sharing), the pages of its web servers in a small jar
(Jetty reads the whole of the jar that it finds them in), and all jars uncompressed: Jersey reads every class of theirs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import paths
from e2e.cluster.build import BuildError
from e2e.cluster.paths import SOURCE
from e2e.cluster.progress import Progress
from e2e.cluster.stores import free_port

VERSION = "3.4.2"
MAIN = "HdfsServer"
_FOLDER = SOURCE / "java" / "hdfs"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
# Program looked for -> Debian package that brings it. Nobody installs these by themselves: they are 300 MB.
PACKAGES = {"java": "default-jre-headless", "javac": "default-jdk-headless", "mvn": "maven"}
_TO_RUN = ("java",)
_PAGES = ("webapps/hdfs/", "webapps/datanode/", "webapps/static/")
_ARCHIVE = "classes.jsa"


def missing() -> str:
    """Why there can be no HDFS server on this machine, and what to do; empty where there can be one."""
    needed = _TO_RUN if is_built() else tuple(PACKAGES)
    absent = [program for program in needed if not shutil.which(program)]
    if not absent:
        return ""
    packages = " ".join(PACKAGES[program] for program in absent)
    return f"The HDFS server of tests needs {', '.join(absent)}: install Java 17 or 21 and Maven (Debian: {packages})."


def ensure(progress: Progress | None = None) -> Path:
    """Return the folder with the jars and the compiled server, making it first where it is missing.

    Raises:
        BuildError: A program is missing, a jar could not be fetched, or is not the one that was pinned.
    """
    target = folder()
    with paths.lock("build-hdfs"):
        if is_built():
            return target
        if sentence := missing():
            raise BuildError(sentence)
        own = progress is None
        progress = progress or Progress(1)
        if own:
            with progress.shown(), progress.step(_title()):
                _make(target)
        else:
            with progress.step(_title()):
                _make(target)
    return target


def folder() -> Path:
    """Where it lies, or will lie: the name changes with the version, the pinned jars and all that makes the server."""
    digest = hashlib.sha256()
    for path in (*sorted(_FOLDER.iterdir()), Path(__file__)):
        digest.update(path.name.encode() + path.read_bytes())
    return paths.cache() / "bin" / f"hdfs-{VERSION}-{digest.hexdigest()[:12]}"


def is_built() -> bool:
    """Whether it is in the cache."""
    return (folder() / "server.jar").exists()


def java(*arguments: str, options: Sequence[str] = ()) -> list[str]:
    """The command line of the server.

    Args:
        arguments: Of the server, see HdfsServer.java.
        options: Of the JVM.
    """
    home = folder()
    # The JVM compares this with what it was when the archive was made. One that does not fit, or that another Java has
    # made, is passed over.
    jars = ":".join(map(str, [home / "server.jar", *sorted((home / "jars").glob("*.jar"))]))
    # A server of minutes: compiling less starts faster, one collector thread leaves the processors to the tests.
    serving = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    shared = [f"-XX:SharedArchiveFile={archive}"] if (archive := home / _ARCHIVE).exists() else []
    return ["java", *options, *serving, *shared, "-cp", jars, MAIN, *arguments]


def check_jars(jars: Path, pinned: str) -> None:
    """Raise `BuildError` unless the folder has exactly the pinned jars. `pinned`: lines as `sha256sum` writes them."""
    wanted = {name: digest for digest, name in (line.split() for line in pinned.splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.iterdir()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise BuildError(f"{_title()}: these jars are not the pinned ones (jars.sha256): {', '.join(wrong)}")


def _make(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".hdfs-", dir=target.parent))
    try:
        jars, classes = temporary / "jars", temporary / "classes"
        _run("mvn", "--batch-mode", "--quiet", "--strict-checksums", f"--file={_FOLDER / 'pom.xml'}", _COPY,
             f"-DoutputDirectory={jars}")  # fmt: skip
        check_jars(jars, (_FOLDER / "jars.sha256").read_text())
        for jar in sorted(jars.iterdir()):
            _uncompress(jar)
        _run("javac", "-proc:none", "-nowarn", "-d", str(classes), "-cp", f"{jars}/*", str(_FOLDER / f"{MAIN}.java"))
        _write_jar(temporary / "server.jar", classes, jars)
        shutil.rmtree(classes)
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        # Where the jars stay: the archive knows them by their paths.
        ports = [str(free_port()) for _ in range(5)]
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            options = [f"-XX:ArchiveClassesAtExit={target / _ARCHIVE}", f"-Djava.io.tmpdir={scratch}"]
            _run(*java(f"{scratch}/data", "127.0.0.1", *ports, "once", options=options))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _uncompress(jar: Path) -> None:
    plain = jar.with_suffix(".plain")
    with zipfile.ZipFile(jar) as packed, zipfile.ZipFile(plain, "w") as out:
        for entry in packed.infolist():
            out.writestr(entry, packed.read(entry), zipfile.ZIP_STORED)
    plain.replace(jar)


def _write_jar(path: Path, classes: Path, jars: Path) -> None:
    """The server's own classes, and Hadoop's web pages. Uncompressed: it lies on this disk only."""
    with zipfile.ZipFile(path, "w") as out:
        for compiled in sorted(classes.iterdir()):
            out.write(compiled, compiled.name)
        for jar in sorted(jars.iterdir()):
            with zipfile.ZipFile(jar) as found:
                for name in sorted(set(found.namelist()) - set(out.namelist())):
                    if name.startswith(_PAGES):
                        out.writestr(name, found.read(name))


def _title() -> str:
    return f"fetch Hadoop {VERSION}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BuildError(f"{_title()}: {command[0]} failed:\n{tail}")
