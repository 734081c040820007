"""Two networks that train side by side in a page, while the reader watches: python -m tinydiv.play

networks.py holds the two networks and what the page shows of them, server.py answers the page, page.html
is the page. Nothing else in tinydiv imports this room, and nothing here writes to the disk.
"""
