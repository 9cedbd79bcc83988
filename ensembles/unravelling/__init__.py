"""All 2^n paths of a residual network: how many, how long, and what each length carries.

The name is the paper's "unravelled view". (A folder called ``paths`` would hide the function
`ensembles.paths`: importing a sub-package sets its name on the package.)
"""
