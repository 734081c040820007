"""How fast is a training step, beside what users would pick instead? python -m tinydiv.bench"""
