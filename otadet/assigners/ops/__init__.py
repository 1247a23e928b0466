"""What the rules share, in the order of a rule.

`inputs` checks what a rule is given, `ignored` finds the anchors in ignored regions; `grids`, `candidates`, `chunks`
and `overlap` say which box may have which anchor; `pairs` is the list of them and `used` their anchors, renumbered;
`costs` gathers and compares; `sinkhorn` and `gmm` solve; `ties` settles who gets an anchor.
"""
