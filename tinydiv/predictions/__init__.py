"""How did the neurons' diversity affect what a trained network predicts? python -m tinydiv.predictions"""
