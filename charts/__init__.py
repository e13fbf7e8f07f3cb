"""The Helm chart, and what is generated from it."""
