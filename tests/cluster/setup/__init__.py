"""What `make cluster` does: a cluster to test on, the images, the manifests, and a wait until all is ready.

It is here, beside the tests that need it, because it builds images without a container engine and puts them
into the one node of a test cluster. Whoever has a registry builds the two Dockerfiles and applies an overlay.
"""
