"""The functions of the cluster: submit (with the HTTP API of jobs), completion and reaper.

Each decodes what comes, calls the domain in `jobs/`, and answers. Knows no torch.
"""
