"""`make mutants`: does a test notice when the code is slightly wrong?"""
