"""A judge behind any OpenAI-compatible endpoint: `--judge openai=FILE.yaml`.

`settings` reads the file, `address` says which address and key may be used, `rubrics` fills a
prompt template, `cache` keeps every reply so that none is paid twice, `limits` spaces requests,
`transport` sends one (the official `openai` library, with its retries), `replies` makes a score of
a reply, `asker` asks many at once, `cost` says beforehand what that amounts to, and `panel` is the
pair of judges.
"""
