"""A walk over points that a running OpenAI-compatible server holds, instead of a local model.

`address` checks where it is, `client` sends one request an answer with the official `openai`
library, `points` knows which of the server's models stands at which t, `model` is what a walk asks,
and `opened` makes it of the command line's two options.
"""
