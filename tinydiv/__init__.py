"""tinydiv: neuron diversity in small networks, with every gradient in the open.

Read tinydiv/mlp.py first. Nothing here imports matplotlib, tqdm or argparse.
"""

__version__ = "0.1.0"
