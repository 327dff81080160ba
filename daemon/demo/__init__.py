"""The demonstration: a made-up fleet with labelled faults, watched by the real daemon through a real broker."""
