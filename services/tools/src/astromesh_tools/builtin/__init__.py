"""The tools that come with Astromesh: each a module, made by `opening`, framed for the service by `tool`."""
