output "role_arn" {
  description = "The controller's role: annotation eks.amazonaws.com/role-arn of its ServiceAccount for \"irsa\", the association's role for \"pod-identity\"."
  value       = aws_iam_role.controller.arn
  depends_on  = [aws_iam_role_policy.controller]
}

output "role_name" {
  description = "The role's name."
  value       = aws_iam_role.controller.name
  depends_on  = [aws_iam_role_policy.controller]
}

output "instance_profile_name" {
  description = "The instance profile for \"instance-profile\", else null."
  value       = one(aws_iam_instance_profile.controller[*].name)
  depends_on  = [aws_iam_role_policy.controller]
}

output "policy_json" {
  description = "The policy document."
  value       = data.aws_iam_policy_document.controller.json
}
