"""The same system on one machine: embedded servers, the broker, and the supervisor behind `mochi up`."""
