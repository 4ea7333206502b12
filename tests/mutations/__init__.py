"""Each guard of the protocol taken out: the simulation notices. Minutes long: `.ci/run` has it."""
