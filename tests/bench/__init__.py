"""The time of a training step, compared with other libraries: python -m tests.bench"""
