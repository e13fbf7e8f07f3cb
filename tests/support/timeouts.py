"""How long tests wait at most. A wait ends as soon as what it waits for is there; these only bound a hang."""

from __future__ import annotations

# A local process or server answers within milliseconds; two busy cores may take seconds.
LOCAL_S = 10.0
# An agent with its processes, from start to end, on two busy cores.
AGENT_RUN_S = 90.0
# Sixteen threads at a store on the same two cores; a data node of HDFS takes half a second for each file.
STORE_S = 120.0
# TensorFlow alone takes eight seconds to import on an idle machine, in each of its processes.
TENSORFLOW_S = 240.0
