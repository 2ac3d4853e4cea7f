// pycortex would look for a Leap Motion controller on a port of this machine; this viewer asks nothing but its own server.
