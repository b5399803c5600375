"""Commands on what earlier runs have left: their boards made anew, their stores looked after."""
