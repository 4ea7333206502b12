"""Makes the built-in tiny Mochi from nothing: `python -m training --out FOLDER`."""
