"""Commands on what earlier runs have left: boards made anew or compared, stores looked after."""
