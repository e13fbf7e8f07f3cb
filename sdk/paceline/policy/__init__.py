"""Pure decisions shared by the SDK and the operator: no I/O, no clock."""
