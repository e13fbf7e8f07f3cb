# Everything a contributor or CI needs; `make help` lists it.
UV ?= uv
