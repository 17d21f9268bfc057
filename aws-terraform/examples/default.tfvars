# Everything as it is by itself: two zones, a NAT gateway, three nodes, one API server.
