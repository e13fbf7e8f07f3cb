"""Pure builders of the manifests: the Service and the pods of an attempt."""
