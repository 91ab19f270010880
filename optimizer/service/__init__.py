"""The service: a REST API and pages over the studies of one folder, and the searches that it starts and stops.

It may know everything, and nothing knows it: a search runs without it, and goes on when it is killed.
"""
