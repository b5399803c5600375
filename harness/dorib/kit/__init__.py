"""What methods of several plugins build on: searches, noise pairs, first steps, weights files.

A module lives here if two plugins would otherwise write it twice. It sees target models and suites
through the interfaces of `contracts`, so it knows neither diffusers nor where a suite comes from;
plugins import what it offers from `dorib`, like every public name.
"""
