"""Along a path between two fine-tunes: do behaviour and features stay on the line?

`study` is the whole, from paths to a `Result`. `inputs`, `judged`, `positions` and `tokens` open
what it is given, into a `plan`; `depends`, `settings`, `store` and `lock` let a killed walk go on,
and another judge score it again. `measure` walks: `along` puts the model at a position, `walker`
measures there, with `behaviour`, and with `hidden` and what it has `kept` on disk. `tally`,
`statistics`, `summary` and `verdict` say what the points amount to, and `output`, `page` and
`drawings` show it.
"""
