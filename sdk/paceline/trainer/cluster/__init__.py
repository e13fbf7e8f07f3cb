"""Training on Kubernetes: `Trainer(train_fn, backend=Kubernetes(image=...))` runs as a TrainJob.

The function and its values travel in a ConfigMap, or through the run's storage; what the pods run is
`paceline.trainer.worker`, as on one machine. Needs `paceline[cli]` where `fit()` is called.
"""
