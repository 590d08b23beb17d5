"""`freshet demo`: the whole loop before a person's eyes; with `--check`, a judge of its promises."""
