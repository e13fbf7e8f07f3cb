"""`Trainer(train_fn, ...).fit()`: the same training function on this machine and on a cluster."""
