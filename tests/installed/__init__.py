"""Tests that need Chromium or curl. `.ci/run` installs them; `make test` leaves these out."""
