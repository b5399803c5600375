"""Run files that ship: `dorib run --config NAME`.

What may live here: one YAML run file a preset, each value with its source or marked "not verified".
"""
