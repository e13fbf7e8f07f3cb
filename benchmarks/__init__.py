"""Every figure of the docs has its script here."""
