"""Train networks and keep the results: python -m tinydiv.train"""
