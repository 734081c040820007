"""Train networks and keep what came of it: python -m tinydiv.train"""
