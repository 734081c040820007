"""Two networks that train side by side in a web page: python -m tinydiv.play

networks.py holds the two networks and computes what the page shows, server.py replies to the requests of
the page, page.html is the page. No other part of tinydiv imports this package, and nothing here writes to
the disk.
"""
