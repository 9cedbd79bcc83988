"""The findings of Veit, Wilber and Belongie (NIPS 2016), run again and held against theirs."""
