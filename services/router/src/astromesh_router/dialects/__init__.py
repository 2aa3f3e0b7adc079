"""The ways to talk to a model, one module a wire format. Which vendor speaks which is data, in `vendors`."""
