# A managed node group would wait until its nodes are Ready, which they are once cloudroute runs, and give up after half an
# hour. An Auto Scaling group of our own waits for nothing.
module "workers" {
  source = "../../modules/nodes"

  cluster_name          = var.cluster_name
  name                  = "workers"
  subnet_ids            = module.network.subnet_ids
  autoscaling           = var.workers
  ami_id                = nonsensitive(data.aws_ssm_parameter.image.value)
  instance_type         = var.instance_type
  instance_profile_name = aws_iam_instance_profile.workers.name
  ipv6                  = false
  tags                  = var.tags

  # The second is EKS's own: control plane and nodes, and nodes among each other.
  security_group_ids = [
    module.network.security_group_id,
    aws_eks_cluster.this.vpc_config[0].cluster_security_group_id,
  ]

  user_data = templatefile("${path.module}/user-data.txt", {
    cluster      = var.cluster_name
    endpoint     = aws_eks_cluster.this.endpoint
    authority    = aws_eks_cluster.this.certificate_authority[0].data
    service_cidr = var.service_cidr
    max_pods     = var.max_pods
  })

  depends_on = [aws_eks_access_entry.workers]
}

data "aws_ec2_instance_type" "workers" {
  instance_type = var.instance_type
}

locals {
  architecture = contains(data.aws_ec2_instance_type.workers.supported_architectures, "arm64") ? "arm64" : "x86_64"
}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/eks/optimized-ami/${aws_eks_cluster.this.version}/amazon-linux-2023/${local.architecture}/standard/recommended/image_id"
}

resource "aws_eks_access_entry" "workers" {
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_iam_role.workers.arn
  type          = "EC2_LINUX"
  tags          = var.tags
}

data "aws_iam_policy_document" "workers_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# What EKS asks of every node; AmazonEKS_CNI_Policy is the VPC CNI's. Nothing here is cloudroute's.
resource "aws_iam_role" "workers" {
  name               = "${var.cluster_name}-workers"
  assume_role_policy = data.aws_iam_policy_document.workers_trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "workers" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"])

  role       = aws_iam_role.workers.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/${each.key}"
}

resource "aws_iam_instance_profile" "workers" {
  name = "${var.cluster_name}-workers"
  role = aws_iam_role.workers.name
  tags = var.tags

  depends_on = [aws_iam_role_policy_attachment.workers]
}
