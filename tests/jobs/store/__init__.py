"""The contract of the job store, on each Redis that this machine has."""
