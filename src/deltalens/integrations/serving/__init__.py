"""Points of a path for a server of models: files that it reads, and the command that starts it.

`export` writes the points and `manifest` their `serve.json`, from which `served` walks over the
running server. `vllm` and `transformers` are the servers: what each can serve, and how it is told.
"""
