"""Installs rivals, measures them in turns, and tells what came of it. Begin with command.py."""
