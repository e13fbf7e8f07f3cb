"""End-to-end tests against a real cluster, and the local test bed they run on."""
