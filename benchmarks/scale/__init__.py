"""What size costs: thousands of pods in a job, jobs that come and go, a throttled API server, hours, a restart."""
