"""What `fit()` costs on one machine, beside Ray Train and plain torchrun."""
