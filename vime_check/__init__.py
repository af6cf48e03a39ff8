"""The cross-check kit: does another implementation give the reference's numbers?"""
