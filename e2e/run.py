"""`make run`: a cluster, the operator by Helm, the digits example on it, its progress and its result.

Without KUBECONFIG: a local Kubernetes of three nodes on this machine, with an S3 server beside it; it stays up
(`make stop` takes it down). With KUBECONFIG: the cluster that it names. There, PACELINE_DEMO_STORAGE names an S3 path
for the checkpoints and AWS_ACCESS_KEY_ID / AWS_SECRET_ACCESS_KEY the keys to it; PACELINE_IMAGE and
PACELINE_TORCH_IMAGE choose other images than the released ones.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from rich.console import Console

from e2e import jobs, stack
from e2e.cluster import Bed, bed, images
from e2e.cluster.errors import BedError
from e2e.cluster.images import TORCH_IMAGE
from e2e.cluster.lifecycle import build_everything
from e2e.jobs import SECRET, Object
from e2e.kube import WaitTimeoutError, new_namespace, new_secret
from e2e.stack import SYSTEM_NAMESPACE, Stack

NAMESPACE = "demo"
JOB = "digits"
EVALUATION = "digits-evaluation"
GOOD_ACCURACY = 0.95
BUCKET = "demo"
console = Console(highlight=False, soft_wrap=True)


class SetupError(BedError):
    """Something that the user must set is missing; the message says what and how."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Where the example runs, and with what."""

    stack: Stack
    storage_path: str
    access_key: str
    secret_key: str
    image: str
    gpus: bool
    local: bool


def main() -> int:
    """Do it all; return 0 when the job succeeded and its checkpoint evaluates well."""
    started = time.monotonic()
    try:
        if os.environ.get("KUBECONFIG"):
            return _train(_on_users_cluster(), started)
        # All at once: on a machine with nothing cached the images' bases are fetched while the programs are compiled.
        build_everything(images.OWN)
        with bed(name="paceline", nodes=3, gpus_per_node=4, s3=True, keep=True) as local:
            return _train(_on_local_cluster(local), started)
    except (BedError, WaitTimeoutError) as error:
        console.print(f"[red]make run stopped:[/] {error}")
        return 1


def _on_local_cluster(local: Bed) -> Demo:
    _say("images: operator and torch, built and brought to the nodes")
    ready = stack.on_bed(local)
    local.s3.make_bucket(BUCKET)
    path = f"s3://{BUCKET}/runs?endpoint_override={local.s3.endpoint}"
    return Demo(ready, path, local.s3.access_key, local.s3.secret_key, TORCH_IMAGE, gpus=True, local=True)


def _on_users_cluster() -> Demo:
    needed = ("PACELINE_DEMO_STORAGE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise SetupError(
            f"KUBECONFIG names a cluster of yours, and {', '.join(missing)} is not set. The example keeps its "
            "checkpoints in S3: set PACELINE_DEMO_STORAGE=s3://bucket/path (for another S3 server than AWS with "
            "?endpoint_override=http://host:port) and the keys to it, or unset KUBECONFIG for a local cluster."
        )
    ready = stack.on_users_cluster()
    nodes = ready.kube.kubectl("get", "nodes", "-o", r"jsonpath={.items[*].status.allocatable.nvidia\.com/gpu}")
    path, access, secret = (os.environ[name] for name in needed)
    image = os.environ.get("PACELINE_TORCH_IMAGE", "paceline/torch:0.1.0")
    return Demo(ready, path, access, secret, image, gpus=sum(map(int, nodes.split())) >= 4, local=False)


def _train(demo: Demo, started: float) -> int:
    kube = demo.stack.kube
    _say("operator: helm upgrade --install paceline charts/paceline")
    demo.stack.install()

    keys = {"AWS_ACCESS_KEY_ID": demo.access_key, "AWS_SECRET_ACCESS_KEY": demo.secret_key}
    kube.apply(new_namespace(NAMESPACE, **stack.RESTRICTED), new_secret(SECRET, NAMESPACE, **keys))
    kube.kubectl("delete", "trainjob", JOB, EVALUATION, "-n", NAMESPACE, "--ignore-not-found", "--cascade=foreground")
    _say(f"job: kubectl apply -f examples/torch-digits/trainjob.yaml ({_size(demo)})")
    # A directory of its own for each run: a job finds the checkpoints of an earlier one of the same name and goes on.
    run_name = f"{JOB}-{time.strftime('%Y%m%d-%H%M%S')}"
    kube.apply(*jobs.script_maps("torch-digits"), _job(demo, run_name), namespace=NAMESPACE)
    followed = demo.stack.paceline("wait", JOB, "-n", NAMESPACE, "--timeout", "900", check=False, echo=True)
    console.print(kube.kubectl("get", "tj", JOB, "-n", NAMESPACE).rstrip())
    if followed.returncode != 0:
        demo.stack.paceline("describe", JOB, "-n", NAMESPACE, check=False, echo=True)
        return 1

    status = _status(demo, JOB)
    _say("evaluation: the last checkpoint is read back from S3 by a job of its own")
    kube.apply(_evaluation(demo, run_name, status["checkpoint"]["path"]), namespace=NAMESPACE)
    if demo.stack.paceline("wait", EVALUATION, "-n", NAMESPACE, "--timeout", "300", check=False, echo=True).returncode:
        demo.stack.paceline("describe", EVALUATION, "-n", NAMESPACE, check=False, echo=True)
        return 1
    return _result(demo, status, _status(demo, EVALUATION)["result"]["metrics"]["accuracy"], time.monotonic() - started)


def _job(demo: Demo, run_name: str) -> Object:
    job = jobs.load_example("torch-digits")
    spec = job["spec"]
    spec["image"] = demo.image
    spec["storage"] = {"path": demo.storage_path, "name": run_name, "secretRef": {"name": SECRET}}
    if not demo.gpus:
        spec["workers"]["resources"].pop("gpu", None)
    return job


def _evaluation(demo: Demo, run_name: str, checkpoint: str) -> Object:
    job = jobs.load_example("torch-digits", "evaluate.yaml")
    job["spec"]["image"] = demo.image
    job["spec"]["storage"] |= {"path": demo.storage_path, "name": f"{run_name}-evaluation"}
    job["spec"]["checkpoints"] = {"resumeFrom": checkpoint}
    return job


def _result(demo: Demo, status: Object, evaluated: float, took_s: float) -> int:
    trained = status["result"]["metrics"]["accuracy"]
    good = trained > GOOD_ACCURACY and evaluated > GOOD_ACCURACY
    console.print(
        f"\n[bold]{'[green]Succeeded' if good else '[red]Not good enough'}[/][/] in {took_s:.0f} s\n"
        f"  accuracy        {trained:.4f} at the end of training, {evaluated:.4f} from the stored checkpoint\n"
        f"  checkpoint      {status['checkpoint']['path']}\n"
        f"  results         result.json, progress.csv, params.json in {status['result']['path']}\n"
    )
    if demo.local:
        console.print(
            "How to go on:\n"
            f"  export KUBECONFIG={demo.stack.kube.kubeconfig}\n"
            f"  kubectl get tj -n {NAMESPACE}; kubectl describe tj {JOB} -n {NAMESPACE}; kubectl get pods -A\n"
            f"  .venv/bin/paceline logs {JOB} -n {NAMESPACE}\n"
            f"  kubectl logs -n {SYSTEM_NAMESPACE} deploy/paceline-operator\n"
            "  make stop        takes the local cluster down"
        )
    return 0 if good else 1


def _status(demo: Demo, name: str) -> Object:
    job = demo.stack.kube.get("trainjob", name, NAMESPACE)
    assert job is not None, f"TrainJob {name} is gone"
    status: Object = job["status"]
    return status


def _size(demo: Demo) -> str:
    workers = jobs.load_example("torch-digits")["spec"]["workers"]
    gpus = ", 1 GPU each" if demo.gpus else ""
    return f"{workers['count']} workers, {workers['perPod']} in a pod{gpus}"


def _say(text: str) -> None:
    console.print(f"[bold]==>[/] {text}")


if __name__ == "__main__":
    sys.exit(main())
