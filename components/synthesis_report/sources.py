"""What the report refers to."""

from driftloop.reporting.layout import Source

SOURCES = (
    Source("smith2017", "L. N. Smith. Cyclical learning rates for training neural networks. WACV, 2017."),
    Source(
        "smith2018", "L. N. Smith and N. Topin. Super-convergence: very fast training of neural networks using large learning rates. 2018."
    ),
    Source("zeiler2014", "M. D. Zeiler and R. Fergus. Visualizing and understanding convolutional networks. ECCV, 2014."),
    Source("he2016", "K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR, 2016."),
    Source("loshchilov2019", "I. Loshchilov and F. Hutter. Decoupled weight decay regularization. ICLR, 2019."),
    Source(
        "yun2019",
        "S. Yun et al. CutMix: regularization strategy to train strong classifiers with localizable features. ICCV, 2019.",
    ),
    Source("bergstra2011", "J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl. Algorithms for hyper-parameter optimization. NeurIPS, 2011."),
    Source("akiba2019", "T. Akiba et al. Optuna: a next-generation hyperparameter optimization framework. KDD, 2019."),
    Source(
        "watanabe2023",
        "S. Watanabe, A. Bansal, F. Hutter. PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces. "
        "IJCAI, 2023.",
    ),
    Source("guo2017", "C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger. On calibration of modern neural networks. ICML, 2017."),
    Source(
        "jacob2018",
        "B. Jacob et al. Quantization and training of neural networks for efficient integer-arithmetic-only inference. CVPR, 2018.",
    ),
    Source("wilson1927", "E. B. Wilson. Probable inference, the law of succession, and statistical inference. JASA 22, 1927."),
    Source(
        "tango1998",
        "T. Tango. Equivalence test and confidence interval for the difference in proportions for the paired-sample design. "
        "Statistics in Medicine 17, 1998.",
    ),
    Source("gretton2012", "A. Gretton et al. A kernel two-sample test. JMLR 13, 2012."),
    Source(
        "phipson2010",
        "B. Phipson and G. K. Smyth. Permutation P-values should never be zero. Statistical Applications in Genetics and "
        "Molecular Biology 9, 2010.",
    ),
    Source(
        "rabanser2019",
        "S. Rabanser, S. Günnemann, Z. C. Lipton. Failing loudly: an empirical study of methods for detecting dataset shift. "
        "NeurIPS, 2019.",
    ),
    Source("holm1979", "S. Holm. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 1979."),
    Source(
        "howard2021",
        "S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon. Time-uniform, nonparametric, nonasymptotic confidence sequences. "
        "Annals of Statistics 49, 2021.",
    ),
    Source("french1999", "R. M. French. Catastrophic forgetting in connectionist networks. Trends in Cognitive Sciences 3, 1999."),
    Source("cohen1988", "J. Cohen. Statistical power analysis for the behavioral sciences. 2nd edition, 1988."),
    Source("google2020", "Google Cloud. MLOps: continuous delivery and automation pipelines in machine learning. 2020."),
    Source("microsoft2021", "Microsoft Azure. Machine learning operations maturity model. 2021."),
    Source("sculley2015", "D. Sculley et al. Hidden technical debt in machine learning systems. NeurIPS, 2015."),
)
