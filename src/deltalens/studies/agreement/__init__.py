"""Do judges agree about the answers that are there?

`study` is the whole, from stored answers to a `Result`. `inputs` opens the answers, `raters` the
judges, `scores` has each judge score each answer once and keeps what was scored, `table` puts the
scores side by side. `measures` and `sweep` say how they agree, in `rows`; `document` says it in
JSON and in a sentence, `page`, `drawings` and `output` show it.
"""
